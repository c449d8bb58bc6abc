"""Adaptive Gauss-Hermite quadrature: nodes, grids, one grouping factor or two nested ones."""
