"""The loop and all that it is made of: order, schedule, augmentation, optimizers, snapshots."""
