"""Numbers to charts, tensors to pictures."""
