"""A server of the Model Context Protocol: what a model may do with flowgres, as the caller that the command line is."""
