"""Engines that train the units of a plan: processes of this machine, Ray, SLURM."""
