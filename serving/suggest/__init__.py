"""Which rollups would have helped the questions that were asked, measured."""
