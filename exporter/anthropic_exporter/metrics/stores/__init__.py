"""Where cells live when several processes share them: files that are mapped into memory."""
