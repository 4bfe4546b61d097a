-- products: what a named GPU can do at most, for floors that are predictions. gbps: memory, tflops: dense bf16
-- products with f32 sums, sms.
-- Sources: NVIDIA's product pages and RTX Blackwell whitepapers; GB10's products as measured with CUTLASS, 5060
-- Ti's as measured by its users.
return {
  { name = "RTX PRO 6000", arch = "sm_120a", sms = 188, gbps = 1792, tflops = 504 },
  { name = "RTX 5090", arch = "sm_120a", sms = 170, gbps = 1792, tflops = 209.5 },
  { name = "RTX 5060 Ti", arch = "sm_120a", sms = 36, gbps = 448, tflops = 47 },
  { name = "GB10", arch = "sm_121a", sms = 48, gbps = 273, tflops = 92 },
  { name = "H100", arch = "sm_90", sms = 132, gbps = 3350, tflops = 989 },
  { name = "A100", arch = "sm_80", sms = 108, gbps = 2039, tflops = 312 },
}
