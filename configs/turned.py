"""`best`, by the name of what it is for: lenses of any orientation."""

from dataclasses import replace

from configs import best

CONFIG = replace(best.CONFIG, preset="turned")
