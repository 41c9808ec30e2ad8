"""Reading an experiment from sums over blocks of rows, where no more than those are needed."""
