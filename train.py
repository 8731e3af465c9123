"""The command line: run, compare, report, reproduce, tune, export and more; see `--help`.

python train.py run --env minatar-continual --intervention adamo --seeds 4
python train.py compare --interventions none adamo fresh --seeds 4
python train.py report results/runs/demo
python train.py watch results/runs/minatar-continual/ppo-adamo
python train.py timeline --env minatar-continual --task-steps 400000 --steps 8000000
python train.py list interventions
"""

import sys

if __name__ == "__main__":
    from neoteny.experiments.main import main

    sys.exit(main())
