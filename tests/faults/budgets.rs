//! Budgets and concurrency (rows C).
