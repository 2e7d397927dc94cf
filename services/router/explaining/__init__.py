"""Who would hear what, when and why: the router's own planner asked, with nothing written."""
