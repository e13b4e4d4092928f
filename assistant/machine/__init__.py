"""The computer around it: devices, GPU, sleep, systemd."""
