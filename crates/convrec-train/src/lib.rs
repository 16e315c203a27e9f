//! The two training loops (SFT and Rank-GRPO), rollouts, rewards, evaluation, checkpoints and logs
