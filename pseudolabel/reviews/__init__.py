"""Reviews: a sample of what was added, a page to listen and judge, and what the judgements say of all the rest."""
