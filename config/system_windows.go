package config

const onWindows = true
