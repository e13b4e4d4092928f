"""Words aloud: engines turn text into samples, a player puts them where they can be heard."""
