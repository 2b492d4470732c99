"""What is wrong with pictures before anyone trains on them."""
