"""Reviews: a page for judging a sample of the additions, and the precision of all additions from the judgements."""
