// Preloaded by subgroup-matrix.sh. Started through a dynamic loader, Node takes that loader's path for its own; a child that is
// started by it would be the bare loader.
process.execPath = process.env.COGWHEEL_NODE;
