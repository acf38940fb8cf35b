"""The commands, one module a topic. They import only click and light modules; everything heavy inside a function."""
