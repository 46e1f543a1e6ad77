#![cfg_attr(fuzzing, no_main)]

axeom_ws_fuzz::run!(driver);
