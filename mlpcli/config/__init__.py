"""What an experiment is: settings, the YAML that holds them, the JSON Schema of it. No NumPy."""
