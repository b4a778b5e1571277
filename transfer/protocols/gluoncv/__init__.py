"""Parts of protocol 'paper' that the toolboxes lack, following the authors' GluonCV code."""
