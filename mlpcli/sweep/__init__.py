"""Many runs: a plan of trials, and the workers that train them."""
