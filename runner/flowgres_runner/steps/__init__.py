"""Step types: one module each, all of the shape that `base.Handler` describes."""
