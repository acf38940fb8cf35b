"""The graph of a definition as a picture: read it, lay it out, and draw it with characters, as Mermaid or as SVG.

What people wrote into a definition is cleaned and escaped by the form that draws it.
"""
