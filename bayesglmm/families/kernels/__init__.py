"""Log-densities and their derivatives as functions of η, one module a family; nothing here loads numba on import."""
