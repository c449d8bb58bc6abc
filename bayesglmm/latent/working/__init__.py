"""PQL and MQL: working linear mixed models, their expansions and the loop around them."""
