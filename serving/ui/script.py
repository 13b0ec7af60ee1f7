"""The script that the server runs for every look at a page."""

from serving.ui.explorer import draw

draw()
