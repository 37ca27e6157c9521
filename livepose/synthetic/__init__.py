"""Pictures of people whose joints are known: a synthetic camera, and single training pictures.

body.py      proportions, stances, joints in metres
figure.py    flesh and clothes around them, as solids
paint.py     solids into pixels
draw.py      a figure into a picture
backdrop.py  what is behind
motion.py    stances over time       ->  scene.py: SyntheticScene
chance.py    people at random        ->  random_figure, random_speaker
"""

from livepose.synthetic.chance import random_figure, random_speaker
from livepose.synthetic.scene import SyntheticScene

__all__ = ["SyntheticScene", "random_figure", "random_speaker"]
