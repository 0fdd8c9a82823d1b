"""Reviews: a page to judge a sample of the additions, and the precision of all of them from the judgements."""
