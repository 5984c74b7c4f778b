"""Problems made on the spot: by reasoning-gym (`rg:NAME`), and our own family of word problems (`graphmath`)."""

from reasonflow.evals.tasks.reasoning_gym import DEFAULT_SIZE, PREFIX, Task, generate, open_dataset, parse_task

__all__ = ["DEFAULT_SIZE", "PREFIX", "Task", "generate", "open_dataset", "parse_task"]
