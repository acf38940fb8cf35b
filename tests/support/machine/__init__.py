"""A machine that draws what runners, tenants, strangers and the clock do at once, and says whether the engine held.

`script` is what was drawn, `world` what is known of the database meanwhile, `reports` and `calls` turn the one into
calls on the other, `stage` runs those of a round together, `settling` brings everything to its end, `verdict` judges
it, `explorer` runs many scripts and cuts down those that failed.
"""
