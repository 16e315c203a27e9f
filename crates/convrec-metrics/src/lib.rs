//! Ranking metrics with confidence intervals and paired tests
