"""What executes a plan: executor, scheduler, run record. The only room that starts tasks."""
