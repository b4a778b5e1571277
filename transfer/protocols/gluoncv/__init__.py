"""Parts of protocol 'paper' that the toolboxes lack, after the authors' GluonCV code."""
