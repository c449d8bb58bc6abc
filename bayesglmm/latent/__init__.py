"""The shared inner problem: structured linear algebra, conditional modes, Laplace and quadrature."""
