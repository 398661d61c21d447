//! What is left of a promise when AWS, or the function itself, fails at the worst moment.

mod at_the_doors;
mod while_minting;
mod of_one;
