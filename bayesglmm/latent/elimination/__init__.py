"""The sparse linear algebra of the inner problem: its structure, the order of elimination, factors."""
