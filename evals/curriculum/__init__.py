"""What a small model learns from: problems with solutions, and drafts with what is to be made of them."""
