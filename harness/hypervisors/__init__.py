"""What is under test: a manifest (TOML) for each hypervisor says how it boots and how its outcomes show."""
