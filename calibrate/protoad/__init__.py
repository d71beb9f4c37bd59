"""ProtoAD: features condensed to prototypes, and the graph that compares with them."""
