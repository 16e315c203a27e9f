//! GRPO, GSPO, Dr.GRPO, DAPO, CISPO and Rank-GRPO as one loss family, for any ranked output
