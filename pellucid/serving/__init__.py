"""What every server of pellucid's shares: who may ask, how much, how long."""
