"""What `advise` has to know of requests; nothing of it runs unless `Recorder(advise=True)` asks for it."""
