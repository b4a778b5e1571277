"""Does a better classifier make a better detector and a better segmenter?"""

__version__ = "0.2.0"
