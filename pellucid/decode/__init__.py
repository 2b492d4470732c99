"""An image file's bytes -> pixels, without torch, here or in processes of their own."""
