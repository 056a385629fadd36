local refusal = fence()
if refusal then return refusal end
return redis.call('ZREMRANGEBYSCORE', resting, '-inf', math.floor(now_ms() / 1000))
