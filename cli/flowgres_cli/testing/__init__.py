"""`flowgres test`: cases of workflows, run by the real engine in a throw-away database under a virtual clock.

`reading` and `checking` make cases of files; `throwaway` is the database, `clock` its time, `steps` and `network` what
a case puts in the place of the world, `engine` the calls and `running` the course of it all; `expecting` judges, and
`text`, `tap` and `junit` tell. `recording` writes a file from a real run. This is the one part of the CLI that has a
runner in its own process.
"""
