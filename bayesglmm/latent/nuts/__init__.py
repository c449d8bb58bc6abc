"""NUTS over the parameters alone, all chains in step."""
