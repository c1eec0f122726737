"""How long the fuzz tests look: seconds in `make test`, as long as you like by `make fuzz MINUTES=n`."""

import os
from datetime import timedelta

from hypothesis import HealthCheck, Phase, settings

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
"""Of each property, in the long form; 0 in the short one."""

LONGEST = timedelta(seconds=60)
"""What takes longer than that in the long form is taken for a hang."""


def effort(examples: int) -> settings:
    """So many examples; in the long form, as many as it was told."""
    return settings(
        max_examples=EXAMPLES or examples,
        deadline=LONGEST if EXAMPLES else None,
        # Not made smaller: a file that fails would be read a thousand times, which takes minutes.
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )
