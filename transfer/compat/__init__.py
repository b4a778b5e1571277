"""What stands in for, or guards, private parts of the toolboxes."""
