"""`livepose bench`: latency measured the way an engineer would trust it."""
